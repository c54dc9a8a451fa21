package gateway

import (
	"errors"
	"net"
	"net/netip"
)

// advertised is where others dial what listens at an address. Without a wish it
// is that address, and where that stands for all of this machine's, the first
// one that others may reach.
func advertised(wish string, listens net.Addr) (string, error) {
	host, port, err := net.SplitHostPort(listens.String())
	if err != nil {
		return "", err
	}
	if wish != "" {
		if wishedHost, wishedPort, err := net.SplitHostPort(wish); err == nil {
			return net.JoinHostPort(wishedHost, wishedPort), nil
		}
		return net.JoinHostPort(wish, port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return listens.String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	var found netip.Addr
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		if !ip.IsGlobalUnicast() || found.IsValid() && (found.Is4() || !ip.Is4()) {
			continue
		}
		found = ip
	}
	if !found.IsValid() {
		return "", errors.New("BELFRY_GATEWAY_ADVERTISE: is needed, as this machine has no address that others can reach")
	}
	return net.JoinHostPort(found.String(), port), nil
}
