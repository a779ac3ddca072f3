"""The admin listener: metrics, health, what the fleet is doing, and the console page."""
