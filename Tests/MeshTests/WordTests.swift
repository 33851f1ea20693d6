import Addresses
import Testing

@testable import Mesh

struct WordTests {
    @Test(arguments: [
        ("5s", 5_000), ("0.25s", 250), ("1h30m", 5_400_000), ("250ms", 250), ("1.5h", 5_400_000), ("0", 0),
        ("-1s", -1000),
        ("1m0.5s", 60_500), (".5s", 500),
    ])
    func durationsAreReadAsGoAndProtobufWriteThem(text: String, milliseconds: Int) {
        #expect(parseDuration(text, .istio) == .milliseconds(milliseconds))
    }

    @Test(arguments: ["", "5", "s", "5 s", "1d", "5S", "1h-5m", "99999999999999999s", "1.2.3s", "１s"])
    func whatIsNoDurationIsRefused(text: String) {
        #expect(parseDuration(text, .istio) == nil)
    }

    @Test(arguments: [
        ("10s", true), ("1h1m1s1ms", true), ("100000s", false), ("1.5s", false), ("0", false), ("1us", false),
        ("1s1s1s1s1s", false),
    ])
    func gatewayAPIHasItsOwnForm(text: String, isFine: Bool) {
        #expect((parseDuration(text, .gatewayAPI) != nil) == isFine)
    }

    @Test(arguments: [
        "a.*b", "^/(a|b)/[^/]+$", "[]a]", "[[:alpha:]]+", "a{2,5}", "a{,", "\\d+\\.\\w*?", "(?i)abc", "(?P<n>x)", "x{",
        "", "(a{1,30}){1,30}",
    ])
    func expressionsOfRE2Pass(text: String) {
        #expect(regexFault(text) == nil)
    }

    @Test(arguments: [
        "(", ")", "[a", "a\\", "*a", "[b-a]", "[[:no:]]", "\\p{No-such}", "a**", "(?=a)", "(?<!a)", "(a)\\1", "a{2000}",
        "a++", "(?>a)", "a|*",
        String(repeating: "a", count: 1025),
    ])
    func brokenExpressionsAreFound(text: String) {
        #expect(regexFault(text) != nil)
    }

    @Test func aBrokenExpressionIsToldInTheWordsOfRE2() {
        #expect(regexFault("[b-a]") == "invalid character class range: b-a")
    }

    @Test(arguments: [
        ("10.0.0.1", true), ("::1", true), ("2001:db8::8:800:200c:417a", true), ("::ffff:1.2.3.4", true),
        ("1.2.3", false),
        ("01.2.3.4", false), ("1.2.3.256", false), ("1::2::3", false), (":1", false), ("12345::", false),
        ("::%eth0", false),
        ("1:2:3:4:5:6:7:8", true), ("1:2:3:4:5:6:7", false), ("1:2:3:4:5:6:7::8", false),
    ])
    func addressesAreRead(text: String, isFine: Bool) {
        #expect((IPAddress(text) != nil) == isFine)
    }

    @Test func blocksHoldTheirAddresses() throws {
        let block = try #require(AddressBlock("10.1.128.0/17"))
        let inside = try #require(IPAddress("10.1.255.9"))
        let outside = try #require(IPAddress("10.1.1.9"))
        #expect(block.contains(inside))
        #expect(!block.contains(outside))
        #expect(AddressBlock("::/129") == nil)
        #expect(try #require(AddressBlock("0.0.0.0/0")).contains(outside))
    }

    @Test(arguments: [
        ("a", true), ("a.b-c.d", true), ("*", true), ("*.a.b", true), ("*-a.b", true), ("a.*", false), ("a_b", false),
        ("", false),
        ("a..b", false), ("1.2.3.4", true), ("1.2.3.400", false), ("_dns.a", true), ("a.", true), (".", false),
    ])
    func hostsAreChecked(text: String, isFine: Bool) {
        #expect((TextRule.hostPattern.fault(text) == nil) == isFine)
    }

    @Test(arguments: [
        ("http", PortProtocol.http), ("grpc-web-x", .grpcWeb), ("grpc-api", .grpc), ("http2", .http2),
        ("tcp-9000", .tcp), ("web", nil), ("", nil),
    ])
    func aPortsNameSaysItsProtocol(name: String, expected: PortProtocol?) {
        #expect(PortProtocol(portName: name) == expected)
    }

    @Test func pathsReadBack() {
        #expect(parsePath("spec.http[0].headers[\"end-user\"].exact").count == 6)
        #expect(parsePath("") == [])
    }

    @Test func hostsOverlapWhereSomeNameFitsBoth() {
        #expect(hostsOverlap("*.a.b", "x.a.b") && hostsOverlap("*", "x") && hostsOverlap("*.b", "*.a.b"))
        #expect(!hostsOverlap("*.a.b", "a.b") && !hostsOverlap("a", "b") && !hostsOverlap("*.a", "*.b"))
    }
}

@Test(arguments: [
    ("10.0.0.1", "10.0.0.1"), ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("::", "::"), ("::1", "::1"),
    ("fe80:0:0:1::", "fe80:0:0:1::"), ("1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"), ("0:0:1:0:0:0:1:0", "0:0:1::1:0"),
])
func anAddressIsWrittenInItsShortForm(text: String, short: String) throws {
    #expect("\(try #require(IPAddress(text)))" == short)
}
