package forge

// Budget is what one token may ask of a forge.
type Budget struct{}
