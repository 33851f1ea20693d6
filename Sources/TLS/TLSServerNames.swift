/// What one connection of a client asks of its server by name, where its settings serve connections to several.
public struct TLSServerNames: Sendable, Hashable {
    /// Sent in place of the settings' server name (SNI). An address, or what is no host's name, is not sent
    /// (RFC 6066, 3).
    public var sent: String?
    /// The host, or address, that the certificate must be for, whomever the settings accept.
    public var required: String?
    /// `required` takes the place of the names that the settings accept; else both must be there.
    public var requiredAlone: Bool

    public init(sent: String? = nil, required: String? = nil, requiredAlone: Bool = false) {
        (self.sent, self.required, self.requiredAlone) = (sent, required, requiredAlone)
    }

    /// For what is kept of connections: a session stands for the checks that were made for it.
    var key: String { "\(sent ?? "")\n\(required ?? "")\n\(requiredAlone)" }
}
