import Certificates
import Identity
import Time

/// What the user gives the agent to begin with. Read again whenever it is needed.
struct GivenFiles: Sendable {
    /// PEM.
    let rootCertificate: String
    let token: String?

    func anchors() throws(AgentError) -> [Certificate] {
        let bytes = try readFile(rootCertificate)
        do throws(CertificateError) {
            return try Certificate.list(pem: bytes, source: rootCertificate)
        } catch {
            throw .badConfiguration("\(error)", hint: error.hint)
        }
    }

    /// - Returns: nil: no file was named.
    func joinToken() throws(AgentError) -> String? {
        guard let token else { return nil }
        let bytes = try readFile(token, limit: 64 << 10)
        let text = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw .badConfiguration(
                "\(token) holds no join token", hint: "write what `martinet token create` prints into it, and no more")
        }
        return text
    }
}

extension SVIDDirectory {
    /// The certificate and the anchors of an earlier run, if they are of this identity and still valid.
    /// - Throws: why what is there is not usable.
    func held(
        by identity: SPIFFEID, now: Timestamp
    ) throws(CertificateError) -> (contents: Contents, certificate: HeldCertificate, anchors: [Certificate])? {
        guard let contents = read() else { return nil }
        let chain = try Certificate.list(pem: contents.chain, source: Self.chainName)
        let anchors = try Certificate.list(pem: contents.bundle, source: Self.bundleName)
        let key = try PrivateKey(pem: contents.key, source: Self.keyName)
        guard key.publicKey.spki == chain[0].spki, try chain[0].spiffeID() == identity, chain[0].validity.contains(now)
        else { return nil }
        return (contents, HeldCertificate(spiffeID: identity, chain: chain, key: key), anchors)
    }
}
