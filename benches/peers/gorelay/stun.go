package main

import "encoding/binary"

const (
	stunHeaderBytes = 20
	stunCookie      = 0x2112a442
	stunUsername    = 0x0006
)

// routeOf reads the route out of a STUN request: the first two characters of the ufrag that the
// transceiver made up, which is what comes before the colon in USERNAME.
func routeOf(packet []byte, routes int) (int, bool) {
	if len(packet) < stunHeaderBytes || packet[0] > 3 ||
		binary.BigEndian.Uint32(packet[4:]) != stunCookie ||
		int(binary.BigEndian.Uint16(packet[2:])) != len(packet)-stunHeaderBytes {
		return 0, false
	}
	for rest := packet[stunHeaderBytes:]; len(rest) >= 4; {
		kind, length := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		if length > len(rest)-4 {
			return 0, false
		}
		if kind == stunUsername {
			return routeOfUfrag(rest[4:4+length], routes)
		}
		padded := 4 + (length+3)&^3
		if padded > len(rest) {
			return 0, false
		}
		rest = rest[padded:]
	}
	return 0, false
}

func routeOfUfrag(username []byte, routes int) (int, bool) {
	if len(username) < 3 {
		return 0, false
	}
	route := 0
	for _, character := range username[:2] {
		digit := 0
		switch {
		case character >= '0' && character <= '9':
			digit = int(character - '0')
		case character >= 'a' && character <= 'f':
			digit = int(character-'a') + 10
		default:
			return 0, false
		}
		route = route<<4 | digit
	}
	return route, route < routes
}
