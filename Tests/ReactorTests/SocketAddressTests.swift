import Glibc
import Testing

@testable import Reactor

@Suite struct SocketAddressTests {
    @Test(arguments: [
        "127.0.0.1:15010", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80", "[2001:db8::a:1]:15012",
        "unix:/run/martinet.sock", "unix:@abstract", "unix:relative",
    ])
    func whatIsWrittenIsWhatIsRead(text: String) throws {
        let address = try SocketAddress(parsing: text)
        #expect(address.description == text)
        var copy: SocketAddress?
        _ = address.withSystemForm { pointer, length in
            var storage = sockaddr_storage()
            withUnsafeMutableBytes(of: &storage) {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: Int(length)))
            }
            copy = SocketAddress(storage, length: length)
            return 0
        }
        #expect(copy == address)
    }

    @Test(arguments: [
        ("127.0.0.1", "the port is missing"),
        ("127.0.0.1:", "the port must be a number from 0 to 65535"),
        ("127.0.0.1:65536", "the port must be a number from 0 to 65535"),
        ("127.0.0.1:+1", "the port must be a number from 0 to 65535"),
        ("localhost:80", "\"localhost\" is not an IPv4 address; names are not looked up"),
        ("127.0.0:80", "\"127.0.0\" is not an IPv4 address; names are not looked up"),
        (":80", "the host is missing"),
        ("::1:80", "an IPv6 address is written in brackets"),
        ("[::1:80", "the bracket is not closed"),
        ("[::g]:80", "what is in brackets is not an IPv6 address"),
        ("[fe80::1%nowhere]:80", "there is no network interface \"nowhere\""),
        ("unix:", "the path is empty"),
        ("unix:/a\0b", "it contains a NUL"),
        (
            "unix:/" + String(repeating: "a", count: 107),
            "the path has 108 bytes; a Unix socket's has at most 107"
        ),
    ])
    func whatCannotBeReadIsNamed(text: String, problem: String) {
        let error = #expect(throws: ReactorError.self) { try SocketAddress(parsing: text) }
        #expect(error == .badAddress(text, problem: problem))
        #expect(error?.hint == "write 127.0.0.1:15010, [::1]:15010 or unix:/path")
    }

    @Test func aPathOfTheGreatestLengthSurvives() throws {
        let address = try SocketAddress(parsing: "unix:/" + String(repeating: "b", count: 106))
        var copy: SocketAddress?
        _ = address.withSystemForm { pointer, length in
            var storage = sockaddr_storage()
            withUnsafeMutableBytes(of: &storage) {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: Int(length)))
            }
            copy = SocketAddress(storage, length: length)
            return 0
        }
        #expect(copy == address)
    }

    @Test func loopbackIsKnown() throws {
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"] {
            #expect(try SocketAddress(parsing: text).isLoopback, "\(text)")
        }
        for text in ["128.0.0.1:1", "0.0.0.0:1", "[::]:1", "[::2]:1", "[::ffff:10.0.0.1]:1"] {
            #expect(try !SocketAddress(parsing: text).isLoopback, "\(text)")
        }
    }
}
