"""The router: splits batches over the writers by weight."""
