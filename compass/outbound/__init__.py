"""The one door that opens sockets to addresses users gave us."""
