"""A child process of ours that answers requests: started, watched, restarted, drained, stopped."""
