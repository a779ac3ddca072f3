"""Published and own traces -> rows. Pure: lines in, rows out; a file per format."""
