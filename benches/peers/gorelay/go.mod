module ringway/benches/gorelay

go 1.22
