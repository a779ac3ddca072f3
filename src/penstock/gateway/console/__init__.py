"""Assets of the console page, served by the admin listener as they are."""
