"""The listener: captures TCP packets and pushes them to the router in batches."""
