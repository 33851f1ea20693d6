// Module HTTP2.
