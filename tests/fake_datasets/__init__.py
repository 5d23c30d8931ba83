"""Small data sets in the layouts of the published ones, one module per data set, for the tests of all packages."""
