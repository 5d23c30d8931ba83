"""Files of features that other packages wrote, each format in a file of its own."""
