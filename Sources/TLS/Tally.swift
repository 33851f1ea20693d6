/// Counts what the peer makes a connection do, against its ``TLSLimits``.
struct Tally {
    let limits: TLSLimits
    private(set) var exceeded: TLSLimit?
    private var isEstablished = false
    private var handshakeBytes = 0
    private var records = 0
    private var recordsWithPayload = 0
    private var keyUpdates = 0
    /// Application data in both directions, in bytes: what it costs a peer to earn more of the rest.
    private var payloadBytes = 0

    init(limits: TLSLimits) {
        self.limits = limits
    }

    var payloadMebibytes: Int { payloadBytes >> 20 }

    /// What ``exceeded`` allowed.
    func allowed(_ limit: TLSLimit) -> Int {
        switch limit {
        case .handshakeRecords: limits.handshakeRecords
        case .handshakeBytes: limits.handshakeBytes
        case .keyUpdates: limits.keyUpdates + payloadMebibytes
        case .recordsWithoutPayload: limits.recordsWithoutPayload + payloadMebibytes
        }
    }

    mutating func noteEstablished() {
        isEstablished = true
        records = 0
    }

    /// - Returns: false if a limit is exceeded.
    mutating func noteBytes(_ count: Int) -> Bool {
        guard !isEstablished else { return true }
        handshakeBytes += count
        if handshakeBytes > limits.handshakeBytes { exceeded = .handshakeBytes }
        return exceeded == nil
    }

    mutating func noteRecord() {
        if isEstablished {
            // The record that begins here is not judged yet.
            let barren = records - recordsWithPayload
            if barren > allowed(.recordsWithoutPayload) { exceeded = exceeded ?? .recordsWithoutPayload }
        } else if records >= limits.handshakeRecords {
            exceeded = exceeded ?? .handshakeRecords
        }
        records += 1
    }

    mutating func noteKeyUpdate() {
        keyUpdates += 1
        if keyUpdates > allowed(.keyUpdates) { exceeded = exceeded ?? .keyUpdates }
    }

    mutating func noteReceived(_ count: Int) {
        recordsWithPayload += 1
        payloadBytes &+= count
    }

    mutating func noteSent(_ count: Int) {
        payloadBytes &+= count
    }
}
