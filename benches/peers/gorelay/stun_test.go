package main

import "testing"

func request(username string) []byte {
	padded := (len(username) + 3) &^ 3
	packet := make([]byte, stunHeaderBytes+4+padded)
	copy(packet, []byte{0, 1, 0, byte(4 + padded), 0x21, 0x12, 0xa4, 0x42})
	copy(packet[stunHeaderBytes:], []byte{0, 6, 0, byte(len(username))})
	copy(packet[stunHeaderBytes+4:], username)
	return packet
}

func TestOnlyAGoodFirstPacketHasARoute(t *testing.T) {
	short := request("01ab:cd")
	lying := request("01ab:cd")
	lying[23] = 200
	for name, test := range map[string]struct {
		packet []byte
		route  int
		ok     bool
	}{
		"a request":         {request("01ab:cd"), 1, true},
		"an unknown route":  {request("07ab:cd"), 7, false},
		"no hexadecimal":    {request("zzab:cd"), 0, false},
		"media":             {[]byte{0x80, 111, 0, 1}, 0, false},
		"cut off":           {short[:len(short)-1], 0, false},
		"a lying attribute": {lying, 0, false},
		"nothing":           {nil, 0, false},
	} {
		route, ok := routeOf(test.packet, 2)
		if ok != test.ok || (ok && route != test.route) {
			t.Errorf("%s: %d, %v", name, route, ok)
		}
	}
}
