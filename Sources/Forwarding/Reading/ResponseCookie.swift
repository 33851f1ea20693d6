import EnvoyAPI

/// A cookie that a proxy gives to clients. Source: Envoy, `Http::Utility::makeSetCookieValue`; RFC 6265, 4.1.
struct ResponseCookie: Sendable {
    let name: [UInt8]
    /// Empty: it has none.
    let path: String
    /// Seconds; 0: as long as the session of the browser.
    let lifetime: Int64
    /// What stands behind the value.
    private let settings: [UInt8]

    /// - Throws: for what would break the head, or the cookie.
    init(
        name: String, path: String, lifetime: Duration, attributes: [(name: String, value: String)]
    ) throws(ConfigurationError) {
        guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"=;,\"".utf8.contains($0) }) else {
            throw .invalid(path: "name", message: "`\(name)` is no cookie's name")
        }
        (self.name, self.path, self.lifetime) = (Array(name.utf8), path, lifetime.components.seconds)
        var settings = ""
        if self.lifetime != 0 { settings += "; Max-Age=\(self.lifetime)" }
        if !path.isEmpty { settings += "; Path=\(path)" }
        for (name, value) in attributes { settings += value.isEmpty ? "; \(name)" : "; \(name)=\(value)" }
        settings += "; HttpOnly"
        self.settings = Array(settings.utf8)
        guard ([path] + attributes.flatMap { [$0.name, $0.value] }).allSatisfy(Self.isPart) else {
            throw .invalid(
                path: "", message: "path and attributes are text without control characters and semicolons")
        }
    }

    private static func isPart(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ";") }
    }

    /// The value of `set-cookie`.
    func field(_ value: String) -> [UInt8] { name + Array("=\"\(value)\"".utf8) + settings }
}
