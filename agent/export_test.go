package agent

// Readdress is what the DHCP client's Moved calls.
var Readdress = (*Agent).readdress

// Close lets go of an agent that is not run.
var Close = (*Agent).close

// Guard is what an agent that runs does every so often.
var Guard = (*Agent).guardAddresses
