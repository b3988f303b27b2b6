//go:build amd64 || arm64

package hijack

// role is what a stream has been for, of which newer hosts let it change nothing, also when that has ended: who has connected is
// refused by listen(2), and who has listened by connect(2), with EINVAL.
type role uint8

const (
	client role = 1 << iota // a connection has been asked for, or is a listener's
	server                  // it has listened
)

// plays notes that the socket has a role.
func (x *socket) plays(r role) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.roles |= r
}

// barred tells whether the host would refuse the socket another role, because it has had this one.
func (x *socket) barred(had role) bool {
	x.mu.Lock()
	roles := x.roles
	x.mu.Unlock()
	if roles&had == 0 {
		return false
	}
	net := x.s.innerNet()
	return net != nil && net.RolesLast()
}
