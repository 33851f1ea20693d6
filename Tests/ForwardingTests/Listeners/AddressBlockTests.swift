import Addresses
import Testing

@Suite struct AddressBlockTests {
    @Test(arguments: [
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"), ("10.1.2.3/31", "10.1.2.2", "10.1.2.4"),
        ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"), ("128.0.0.0/1", "255.0.0.1", "127.255.255.255"),
        ("0.0.0.0/0", "255.255.255.255", "::"), ("2001:db8::/64", "2001:db8::ffff:1:2:3", "2001:db8:0:1::"),
        ("2001:db8::/65", "2001:db8::7fff:0:0:0", "2001:db8::8000:0:0:0"),
        ("2001:db8:0:2::/63", "2001:db8:0:3::1", "2001:db8:0:4::"), ("::1/128", "::1", "::2"),
        ("::/0", "ffff::1", "0.0.0.0"), ("8000::/1", "ffff::", "7fff::"),
    ])
    func aBlockHasWhatSharesItsFirstBits(block: String, inside: String, outside: String) throws {
        let parsed = try #require(AddressBlock(block))
        let (one, other) = (try #require(IPAddress(inside)), try #require(IPAddress(outside)))
        #expect(parsed.contains(one) && !parsed.contains(other))
        // Its other bits do not count: a block that is written otherwise is the same.
        let bits = block.split(separator: "/")[1]
        #expect(AddressBlock("\(inside)/\(bits)")?.masked == parsed.masked)
    }

    @Test(arguments: ["10.1.2.3", "255.255.255.255", "::", "2001:db8::1:0:0:1", "ffff:ffff:ffff:ffff::1"])
    func bytesAndTextSayTheSame(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == text && IPAddress(bytes: address.bytes) == address)
        #expect(address.bytes.count == address.bitCount / 8)
    }
}
