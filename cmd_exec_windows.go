package main

// withholdFiles has nothing to do: a command inherits nothing that it is not given.
func withholdFiles() {}
