"""`tapfan watch`: a live screen of the writers, with keys that change weights and states."""
