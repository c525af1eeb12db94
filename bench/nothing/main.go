// Command nothing is what the containers of the benchmark run.
package main

func main() {}
