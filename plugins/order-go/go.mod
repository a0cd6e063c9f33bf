module order-go

go 1.25
