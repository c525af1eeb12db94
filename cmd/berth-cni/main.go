// Command berth-cni is every CNI plugin of the suite in one static binary,
// chosen by the name that it is called by.
package main

func main() {}
