package agent

// Readdress is what the DHCP client's Moved calls.
var Readdress = (*Agent).readdress

// Close lets go of an agent that is not run.
var Close = (*Agent).close

// Guard and KeepAddresses are what an agent that runs does every so often.
var (
	Guard         = (*Agent).guardAddresses
	KeepAddresses = (*Agent).keepAddresses
)

// Evictions are what status warns of.
var Evictions = (*Agent).evictions

// KeepShortcuts is what each repair calls.
var KeepShortcuts = (*Agent).keepShortcuts
