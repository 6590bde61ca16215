module peer

go 1.26

require github.com/nwaples/tacplus v0.0.3
