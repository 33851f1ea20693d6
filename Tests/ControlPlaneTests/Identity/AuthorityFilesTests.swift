import Glibc
import Testing

@testable import ControlPlane

@Suite struct AuthorityFilesTests {
    @Test func aKeyIsWrittenForItsOwnerAloneAndReadBack() throws {
        let data = try TemporaryDirectory()
        let files = try AuthorityFiles(dataDirectory: data.path)
        try files.writeKey("ab12", Array("secret".utf8))
        #expect(try files.readKey("ab12") == Array("secret".utf8))
        #expect(mode(files.keyPath("ab12")) == 0o600)
        #expect(mode(files.directory) == 0o700)
        #expect(try files.keyNames() == ["ab12"])
        try files.writeKey("ab12", Array("other".utf8))
        #expect(try files.readKey("ab12") == Array("other".utf8))
        try files.removeKey("ab12")
        #expect(try files.keyNames() == [])
        // A crash may have come between the removal and its record.
        try files.removeKey("ab12")
    }

    @Test func theBundleIsForEveryone() throws {
        let data = try TemporaryDirectory()
        let files = try AuthorityFiles(dataDirectory: data.path)
        try files.publishBundle(Array("pem".utf8))
        #expect(mode(files.bundlePath) == 0o644)
    }

    @Test func aKeyThatOthersCanReadIsRefused() throws {
        let data = try TemporaryDirectory()
        let files = try AuthorityFiles(dataDirectory: data.path)
        try files.writeKey("ab12", Array("secret".utf8))
        chmod(files.keyPath("ab12"), 0o640)
        let error = #expect(throws: AuthorityFileError.self) { try files.readKey("ab12") }
        #expect(error == .tooOpen(files.keyPath("ab12"), mode: 0o640))
        #expect(error?.hint.contains("chmod 600") == true)
    }

    @Test func aMissingKeyNamesItsFileAndTheMend() throws {
        let data = try TemporaryDirectory()
        let files = try AuthorityFiles(dataDirectory: data.path)
        let error = #expect(throws: AuthorityFileError.self) { try files.readKey("ab12") }
        #expect(error == .missing(files.keyPath("ab12")))
        #expect(error?.hint.contains("backup") == true)
    }

    @Test func aWriteThatFailsLeavesWhatWasThere() throws {
        let data = try TemporaryDirectory()
        let files = try AuthorityFiles(dataDirectory: data.path)
        try files.writeKey("ab12", Array("before".utf8))
        // In the way of the unfinished file, and not to be unlinked: a directory.
        mkdir(files.keyPath("ab12") + ".new", 0o700)
        #expect(throws: AuthorityFileError.self) { try files.writeKey("ab12", Array("after".utf8)) }
        #expect(try files.readKey("ab12") == Array("before".utf8))
    }

    @Test func aPassphraseIsTheFirstLine() throws {
        let data = try TemporaryDirectory()
        let path = data.path + "/passphrase"
        try data.write("passphrase", "open sesame\r\nnot this")
        chmod(path, 0o600)
        #expect(try AuthorityFiles.passphrase(in: path) == Array("open sesame".utf8))
        try data.write("passphrase", "\n")
        chmod(path, 0o600)
        #expect(throws: AuthorityFileError.emptyPassphrase(path)) { try AuthorityFiles.passphrase(in: path) }
    }

    private func mode(_ path: String) -> UInt32 {
        var status = stat()
        guard stat(path, &status) == 0 else { return 0 }
        return status.st_mode & 0o7777
    }
}

@Suite struct HTTPResponseReaderTests {
    private func read(_ text: String, closing: Bool = false, largest: Int = 100) throws -> HTTPResponseReader {
        // Byte by byte: where the network cuts does not matter.
        var reader = HTTPResponseReader(largestBody: largest)
        for byte in text.utf8 { try reader.receive([byte]) }
        if closing { try reader.connectionClosed() }
        return reader
    }

    @Test func aLengthEndsTheBody() throws {
        let reader = try read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        #expect(reader.isFinished && reader.status == 200)
        #expect(reader.body == Array("hello".utf8))
    }

    @Test func chunksAreJoined() throws {
        let reader = try read(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n")
        #expect(reader.isFinished)
        #expect(reader.body == Array("hello".utf8))
    }

    @Test func theEndOfTheConnectionEndsABodyWithoutLength() throws {
        let reader = try read("HTTP/1.0 200 OK\r\n\r\nhello", closing: true)
        #expect(reader.body == Array("hello".utf8))
    }

    @Test func whatIsCutShortIsNotTaken() {
        #expect(throws: HTTPProblem.cutShort) {
            try read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", closing: true)
        }
        #expect(throws: HTTPProblem.cutShort) { try read("HTTP/1.1 200", closing: true) }
    }

    @Test func everythingHasABound() {
        #expect(throws: HTTPProblem.tooLarge("body", limit: 100)) {
            try read("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n")
        }
        #expect(throws: HTTPProblem.tooLarge("body", limit: 100)) {
            try read("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 101))
        }
        #expect(throws: HTTPProblem.tooLarge("head", limit: HTTPResponseReader.largestHead)) {
            var reader = HTTPResponseReader(largestBody: 100)
            try reader.receive(Array(repeating: UInt8(ascii: "x"), count: HTTPResponseReader.largestHead + 1))
        }
    }

    @Test func addressesAreReadStrictly() {
        #expect(HTTPSDownload.Address("https://a.example/bundle")?.description == "https://a.example/bundle")
        #expect(HTTPSDownload.Address("https://a.example:8443")?.port == 8443)
        #expect(HTTPSDownload.Address("https://[::1]:8443/x")?.host == "::1")
        for text in ["http://a/", "https://", "https://u@a/", "https://a:0/", "https://a/ b", "https://a/#f", "a"] {
            #expect(HTTPSDownload.Address(text) == nil, "\(text)")
        }
    }
}
