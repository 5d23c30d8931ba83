"""One reader a data set or file format."""
