import Foundation
import TLS
import Testing

/// Real certificates, made by the `openssl` command in a directory of its own.
struct TestAuthority {
    enum Key: String {
        case p256 = "EC -pkeyopt ec_paramgen_curve:P-256"
        case rsa = "RSA -pkeyopt rsa_keygen_bits:2048"
        case weakRSA = "RSA -pkeyopt rsa_keygen_bits:1024"
        case ed25519 = "ED25519"
    }

    struct Issued {
        var certificateFile: String
        var keyFile: String

        var certificatePEM: [UInt8] { bytes(of: certificateFile) }
        var keyPEM: [UInt8] { bytes(of: keyFile) }

        func identity(with intermediates: [Issued] = []) throws -> TLSIdentity {
            let chain = certificatePEM + intermediates.flatMap(\.certificatePEM)
            return try TLSIdentity(chainPEM: chain, keyPEM: keyPEM)
        }
    }

    let directory: String
    let name: String
    let issued: Issued

    static let longAgo = "20200101000000Z"
    static let farAhead = "20490101000000Z"

    /// A self-signed root.
    init(root name: String, in directory: String = newDirectory()) throws {
        try self.init(name, directory: directory, issuer: nil)
    }

    private init(_ name: String, directory: String, issuer: TestAuthority?) throws {
        self.directory = directory
        self.name = name
        issued = Issued(certificateFile: "\(directory)/\(name).pem", keyFile: "\(directory)/\(name).key")
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        if let issuer {
            try issuer.issue(name, extensions: extensions)
        } else {
            try TestAuthority.makeRequest(name, directory: directory, key: .p256)
            try sign(name, by: ["-selfsign", "-keyfile", issued.keyFile], extensions: extensions)
        }
    }

    /// An authority that signs with the key of a certificate that is none.
    init(pretending authority: TestAuthority, as issued: Issued) {
        directory = authority.directory
        name = authority.name
        self.issued = issued
    }

    func intermediate(_ name: String) throws -> TestAuthority {
        try TestAuthority(name, directory: directory, issuer: self)
    }

    /// A leaf with these subject alternative names, in openssl's notation.
    @discardableResult
    func leaf(
        _ name: String, san: String? = nil, key: Key = .p256, from: String = longAgo, to: String = farAhead,
        usage: String = "serverAuth,clientAuth"
    ) throws -> Issued {
        var extensions = "basicConstraints=CA:FALSE\nextendedKeyUsage=\(usage)\n"
        if let san { extensions += "subjectAltName=\(san)\n" }
        return try issue(name, key: key, extensions: extensions, from: from, to: to)
    }

    @discardableResult
    func issue(
        _ name: String, key: Key = .p256, extensions: String, from: String = longAgo, to: String = farAhead
    ) throws -> Issued {
        try TestAuthority.makeRequest(name, directory: directory, key: key)
        let issuer = ["-cert", issued.certificateFile, "-keyfile", issued.keyFile]
        try sign(name, by: issuer, extensions: extensions, from: from, to: to)
        return Issued(certificateFile: "\(directory)/\(name).pem", keyFile: "\(directory)/\(name).key")
    }

    private func sign(
        _ name: String, by issuer: [String], extensions: String, from: String = longAgo, to: String = farAhead
    ) throws {
        let file = "\(directory)/\(name)"
        try extensions.write(toFile: "\(file).ext", atomically: true, encoding: .utf8)
        // A database for each certificate: tests run side by side.
        try Data().write(to: URL(fileURLWithPath: "\(file).index"))
        try """
        [ca]
        default_ca = this
        [this]
        database = \(file).index
        new_certs_dir = \(directory)
        default_md = sha256
        rand_serial = yes
        policy = any
        email_in_dn = no
        [any]
        organizationName = optional
        commonName = optional
        """.write(toFile: "\(file).conf", atomically: true, encoding: .utf8)
        try openssl(
            ["ca", "-batch", "-notext", "-config", "\(file).conf"] + issuer
                + ["-in", "\(file).csr", "-out", "\(file).pem", "-extfile", "\(file).ext"]
                + ["-startdate", from, "-enddate", to])
    }

    private static func makeRequest(_ name: String, directory: String, key: Key) throws {
        let keyFile = "\(directory)/\(name).key"
        try openssl(["genpkey", "-out", keyFile, "-algorithm"] + key.rawValue.split(separator: " ").map(String.init))
        let subject = "/O=Martinet/CN=\(name)"
        try openssl(["req", "-new", "-key", keyFile, "-subj", subject, "-out", "\(directory)/\(name).csr"])
    }

    var anchors: TrustAnchors {
        get throws { try TrustAnchors(file: issued.certificateFile) }
    }
}

/// What most tests need, made once.
enum Fixture {
    static let root = Result { try TestAuthority(root: "root") }
    static let otherRoot = Result { try TestAuthority(root: "other-root") }
    static let server = Result { try root.get().leaf("server", san: "DNS:server.test,DNS:*.pods.test,IP:127.0.0.1") }
    static let client = Result { try root.get().leaf("client", san: "URI:spiffe://mesh.test/ns/shop/sa/web") }

    static func serverConfiguration(_ protocols: [String] = ["h2"]) throws -> TLSConfiguration {
        .server(try server.get().identity(), applicationProtocols: protocols)
    }

    static func mutualConfiguration() throws -> TLSConfiguration {
        .mutualServer(try server.get().identity(), trusting: try root.get().anchors, applicationProtocols: ["h2"])
    }

    static func clientConfiguration(identity: TLSIdentity? = nil) throws -> TLSConfiguration {
        .client(
            trusting: try root.get().anchors, serverName: "server.test", identity: identity,
            applicationProtocols: ["h2"])
    }
}

/// A directory for one test's files; all of them go when the tests end.
func newDirectory() -> String {
    let path = "\(everything)/\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

private let everything: String = {
    atexit { try? FileManager.default.removeItem(atPath: "/tmp/martinet-tls-tests-\(getpid())") }
    return "/tmp/martinet-tls-tests-\(getpid())"
}()

func bytes(of file: String) -> [UInt8] {
    FileManager.default.contents(atPath: file).map { Array($0) } ?? []
}

struct CommandFailed: Error {
    var words: [String]
    var output: String
}

/// Runs the `openssl` command to its end.
@discardableResult
func openssl(_ arguments: [String]) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw CommandFailed(words: arguments, output: text) }
    return text
}
