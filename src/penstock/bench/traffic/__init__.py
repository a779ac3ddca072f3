"""What is sent, and when. Pure: a seed in, requests out."""
