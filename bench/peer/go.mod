module peer

go 1.26

require (
	bench v0.0.0
	github.com/nwaples/tacplus v0.0.3
)

replace bench => ../
