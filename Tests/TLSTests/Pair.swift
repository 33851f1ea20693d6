import TLS
import Testing

/// A client and a server engine, and the bytes between them.
final class Pair {
    let client: TLSEngine
    let server: TLSEngine
    var toServer: [UInt8] = []
    var toClient: [UInt8] = []
    var serverReceived: [UInt8] = []
    var clientReceived: [UInt8] = []
    var clientError: TLSError?
    var serverError: TLSError?
    /// Bytes that went over the wire in either direction.
    var wireBytes = 0

    init(
        _ client: TLSSettings, _ server: TLSSettings, sessionKey: String = "", names: TLSServerNames = TLSServerNames()
    ) throws {
        self.client = try TLSEngine(client, sessionKey: sessionKey, names: names)
        self.server = try TLSEngine(server)
    }

    convenience init(_ client: TLSConfiguration, _ server: TLSConfiguration) throws {
        try self.init(TLSSettings(client), TLSSettings(server))
    }

    /// Shakes hands, and lets everything arrive.
    @discardableResult
    func connect(piece: Int = .max) throws -> Pair {
        try client.start { toServer += $0 }
        try server.start { toClient += $0 }
        pump(piece: piece)
        return self
    }

    /// Delivers what is under way, in pieces, until nothing is.
    func pump(piece: Int = .max) {
        while !toServer.isEmpty || !toClient.isEmpty {
            deliverToServer(piece)
            deliverToClient(piece)
        }
    }

    func deliverToServer(_ piece: Int = .max) {
        let bytes = Array(toServer.prefix(piece))
        toServer.removeFirst(bytes.count)
        wireBytes += bytes.count
        guard serverError == nil else { return }
        do throws(TLSError) {
            try server.receive(bytes, plaintext: { serverReceived += $0 }, output: { toClient += $0 })
        } catch { serverError = error }
    }

    func deliverToClient(_ piece: Int = .max) {
        let bytes = Array(toClient.prefix(piece))
        toClient.removeFirst(bytes.count)
        wireBytes += bytes.count
        guard clientError == nil else { return }
        do throws(TLSError) {
            try client.receive(bytes, plaintext: { clientReceived += $0 }, output: { toServer += $0 })
        } catch { clientError = error }
    }

    func sendFromClient(_ text: String) throws {
        try client.send(Array(text.utf8)) { toServer += $0 }
    }

    func sendFromServer(_ text: String) throws {
        try server.send(Array(text.utf8)) { toClient += $0 }
    }

    /// Fails the test unless both sides are established and data goes both ways.
    func expectWorks(sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(clientError == nil, sourceLocation: sourceLocation)
        #expect(serverError == nil, sourceLocation: sourceLocation)
        try #require(client.isEstablished && server.isEstablished, sourceLocation: sourceLocation)
        serverReceived = []
        clientReceived = []
        try sendFromClient("ping")
        try sendFromServer("pong")
        pump()
        #expect(serverReceived == Array("ping".utf8), sourceLocation: sourceLocation)
        #expect(clientReceived == Array("pong".utf8), sourceLocation: sourceLocation)
    }
}

extension TLSEngine {
    func receive(
        _ bytes: [UInt8], plaintext: (UnsafeRawBufferPointer) -> Void, output: (UnsafeRawBufferPointer) -> Void
    ) throws(TLSError) {
        let result = bytes.withUnsafeBytes { bytes -> Result<Void, TLSError> in
            do throws(TLSError) {
                return .success(try receive(bytes, plaintext: plaintext, output: output))
            } catch { return .failure(error) }
        }
        try result.get()
    }

    func send(_ bytes: [UInt8], output: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {
        let result = bytes.withUnsafeBytes { bytes -> Result<Void, TLSError> in
            do throws(TLSError) { return .success(try send(bytes, output: output)) } catch { return .failure(error) }
        }
        try result.get()
    }
}

/// The error that `body` throws.
func tlsError(_ body: () throws -> Void, sourceLocation: SourceLocation = #_sourceLocation) -> TLSError? {
    do { try body() } catch { return error as? TLSError }
    Issue.record("no error", sourceLocation: sourceLocation)
    return nil
}

/// A small generator that gives the same numbers for the same seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
