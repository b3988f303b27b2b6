module rumptools

go 1.26.0
