module tacacs_plus

go 1.26
