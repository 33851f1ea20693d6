import HTTP
import HTTP1
import Testing

private func request(
    _ fields: [(String, String)], _ framing: HTTP1Framing = .none, _ persistence: HTTP1Persistence = .implied
) throws -> String {
    var output = Array("before".utf8)
    try HTTP1Writer.appendRequest(
        HeaderList(fields.map { (name: $0.0, value: $0.1) }), framing: framing, persistence: persistence, to: &output)
    return String(decoding: output.dropFirst(6), as: UTF8.self)
}

private func response(
    _ fields: [(String, String)], _ framing: HTTP1Framing = .none, _ persistence: HTTP1Persistence = .implied
) throws -> String {
    var output: [UInt8] = []
    try HTTP1Writer.appendResponse(
        HeaderList(fields.map { (name: $0.0, value: $0.1) }), framing: framing, persistence: persistence, to: &output)
    return String(decoding: output, as: UTF8.self)
}

private let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a:80"), (":path", "/x?y")]

struct WriterTests {
    @Test func aRequestSaysWhatTheListSaysAndFramesItself() throws {
        #expect(
            try request(
                get + [
                    ("content-length", "9"), ("transfer-encoding", "x"), ("connection", "x"), ("keep-alive", "1"),
                    ("x-a", ""), ("x-b", "1\t\u{e9}"), ("host", "evil"), ("upgrade", "x"), ("te", "gzip"),
                ], .length(5))
                == "GET /x?y HTTP/1.1\r\nhost: a:80\r\nx-a: \r\nx-b: 1\t\u{e9}\r\ncontent-length: 5\r\n\r\n")
        #expect(try request(get) == "GET /x?y HTTP/1.1\r\nhost: a:80\r\n\r\n")
        #expect(
            try request(get + [("te", "trailers")], .chunked, .close)
                == "GET /x?y HTTP/1.1\r\nhost: a:80\r\nte: trailers\r\nconnection: te\r\n"
                + "transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        #expect(
            try request(get, .none, .upgrade("websocket"))
                == "GET /x?y HTTP/1.1\r\nhost: a:80\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        #expect(
            try request([(":method", "CONNECT"), (":authority", "a:443")])
                == "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
        #expect(
            try request([(":method", "OPTIONS"), (":authority", "a"), (":path", "*")])
                == "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
    }

    @Test func aResponseFramesItselfAndKeepsTheLengthOfAnother() throws {
        #expect(
            try response([(":status", "200"), ("content-length", "9"), ("server", "s")], .length(18_446_744_073))
                == "HTTP/1.1 200 OK\r\nserver: s\r\ncontent-length: 18446744073\r\n\r\n")
        #expect(
            try response([(":status", "304"), ("content-length", "9")])
                == "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n")
        #expect(
            try response([(":status", "204"), ("content-length", "9")], .length(0))
                == "HTTP/1.1 204 No Content\r\n\r\n")
        #expect(
            try response([(":status", "200"), ("content-length", "9")], .untilClose, .close)
                == "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        #expect(
            try response([(":status", "299")], .chunked, .keepAlive)
                == "HTTP/1.1 299 Unknown\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n")
        #expect(
            try response([(":status", "101")], .none, .upgrade("websocket"))
                == "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        var output: [UInt8] = []
        HTTP1Writer.appendContinue(to: &output)
        try HTTP1Writer.appendInformational(HeaderList([(":status", "103"), ("link", "</a>")]), to: &output)
        #expect(
            String(decoding: output, as: UTF8.self)
                == "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
    }

    /// Whatever a value holds, it does not become a line of its own.
    @Test func nothingCanBeInjected() {
        let bad = ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "\u{7f}", "\u{1}"]
        for value in bad {
            #expect(throws: HTTP1WriteError.malformedField(name: "x-a")) { try request(get + [("x-a", value)]) }
            #expect(throws: HTTP1WriteError.malformedField(name: "x-a")) {
                try response([(":status", "200"), ("x-a", value)])
            }
        }
        for name in ["a b", "a:", "", "A", "a\r\nb", "a\0"] {
            #expect(throws: HTTP1WriteError.malformedField(name: name)) { try request(get + [(name, "v")]) }
        }
        for (index, values) in [
            (0, ["G T", "", "GET / HTTP/1.1\r\nx:", "G\0T"]), (2, ["", "a b", "a\r\nb", "a/b", "u@a"]),
            (3, ["", "x", "/a b", "/a\r\n", "/#", "/\u{e9}", "*/"]),
        ] {
            for value in values {
                var fields = get
                fields[index].1 = value
                #expect(throws: HTTP1WriteError.malformedField(name: get[index].0)) { try request(fields) }
            }
        }
        for status in ["", "20", "2000", "2x0", "099", "20\n"] {
            #expect(throws: HTTP1WriteError.malformedField(name: ":status")) { try response([(":status", status)]) }
        }
        #expect(throws: HTTP1WriteError.missingField(":authority")) {
            try request([(":method", "GET"), (":path", "/")])
        }
        #expect(throws: HTTP1WriteError.missingField(":status")) { try response([]) }
    }

    @Test func whatThrewLeavesTheOutputAsItWas() {
        var output = Array("before".utf8)
        #expect(throws: HTTP1WriteError.self) {
            try HTTP1Writer.appendRequest(
                HeaderList(get.map { (name: $0.0, value: $0.1) } + [(name: "x", value: "\r\n")]), framing: .none,
                to: &output)
        }
        #expect(output == Array("before".utf8))
    }

    @Test func chunksAreNeverEmptyAndTrailersAreFiltered() {
        var output: [UInt8] = []
        for count in [0, 1, 9, 10, 15, 16, 255, 256, 4096, 65535] {
            output = []
            HTTP1Writer.appendChunkStart(count, to: &output)
            #expect(output == (count == 0 ? [] : Array("\(String(count, radix: 16))\r\n".utf8)))
        }
        output = []
        Array("hello".utf8).withUnsafeBytes { HTTP1Writer.appendChunk($0, to: &output) }
        HTTP1Writer.appendChunk(UnsafeRawBufferPointer(start: nil, count: 0), to: &output)
        HTTP1Writer.appendLastChunk(
            trailers: HeaderList([
                ("grpc-status", "0"), ("content-length", "5"), (":status", "200"), ("x", "a\r\nb"), ("host", "b"),
            ]), to: &output)
        #expect(String(decoding: output, as: UTF8.self) == "5\r\nhello\r\n0\r\ngrpc-status: 0\r\n\r\n")
        output = []
        HTTP1Writer.appendLastChunk(to: &output)
        #expect(String(decoding: output, as: UTF8.self) == "0\r\n\r\n")
    }

    /// What we write we read, and it is the same.
    @Test func whatIsWrittenIsReadBack() throws {
        let list = HeaderList(
            get.map { (name: $0.0, value: $0.1) } + [
                (name: "x-a", value: "1"), (name: "te", value: "trailers"), (name: "x-a", value: ""),
                (name: "cookie", value: "a=b; c=d"),
            ])
        var output: [UInt8] = []
        try HTTP1Writer.appendRequest(list, framing: .chunked, to: &output)
        Array("body".utf8).withUnsafeBytes { HTTP1Writer.appendChunk($0, to: &output) }
        HTTP1Writer.appendLastChunk(trailers: HeaderList([("sum", "1")]), to: &output)
        for parts in allCuts(output) {
            var transcript = Transcript(.server)
            #expect(
                transcript.run(parts) == [
                    "head" + list.fields.map { " \($0.name)=\($0.value)" }.joined(), "  chunked, keeps alive",
                    "data body", "end sum=1",
                ])
        }
    }
}
