package overlay

// GuardName is held while devices are made.
const GuardName = guardName
