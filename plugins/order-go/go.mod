// The same in every project, whatever it is called, as the bindings import one another by this name.
module component

go 1.25
