package broker

// Observer counts what nobody sees but the broker.
type Observer interface {
	// HandedOver is told of each request that was for another replica, and whether that one could be reached.
	HandedOver(reached bool)
	// Translated is told of each call between the eras that has ended: of which era its server is, and what became of it.
	Translated(serverEra, outcome string)
}

// The eras of servers, and what becomes of a call.
const (
	eraSessions  = "sessions"
	eraStateless = "stateless"

	outcomeAnswered  = "answered"  // by the server, be it with an error
	outcomeFailed    = "failed"    // the gateway answered in the server's place
	outcomeAbandoned = "abandoned" // nobody waited for the answer any more
)

type nobody struct{}

func (nobody) HandedOver(bool)           {}
func (nobody) Translated(string, string) {}
