"""What is in the engines' KV caches, by their own events: followed by the supervisor, told to the workers."""
