import Certificates
import Foundation
import Identity
import Testing
import Time

/// A folder of a test's own, removed with the last reference.
final class Folder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("certificates-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a file and returns its path.
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = path + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: file))
        return file
    }

    func read(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)))
    }
}

/// Runs a program to its end. Both outputs together.
func run(_ program: String, _ arguments: [String], in folder: Folder? = nil) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder.path) }
    let output = Pipe()
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let bytes = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: bytes, as: UTF8.self))
}

/// Runs `openssl`, which must succeed.
@discardableResult
func openssl(_ arguments: [String], in folder: Folder? = nil) throws -> String {
    let (status, output) = try run("/usr/bin/openssl", arguments, in: folder)
    try #require(status == 0, "openssl \(arguments.joined(separator: " ")): \(output)")
    return output
}

/// Runs a Python program with the peers' libraries; it must succeed.
func python(_ program: String, in folder: Folder) throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path
    let (status, output) = try run(root + "/.build/venv/bin/python", ["-c", program], in: folder)
    try #require(status == 0, "\(output)")
    return output
}

func certificateError(_ body: () throws -> Void) -> CertificateError? {
    do {
        try body()
        return nil
    } catch {
        return error as? CertificateError
    }
}

/// 2026-09-21T14:13:20Z, when these tests take place.
let now = Timestamp(seconds: 1_790_000_000)
let day = Duration.seconds(86_400)

/// A mesh with a root, an intermediate and workloads.
struct Mesh {
    let domain: TrustDomain
    let rootKey: PrivateKey
    let root: Certificate
    let intermediate: Issuer

    init(_ algorithm: KeyAlgorithm = .ecdsaP256, domain: String = "mesh.test", name: String = "root") throws {
        self.domain = try TrustDomain(domain)
        rootKey = try PrivateKey.generate(algorithm)
        root = try Issuer.selfSigned(
            subject: try DistinguishedName(commonName: name, organization: "Martinet"), trustDomain: self.domain,
            key: rootKey, validity: now + day * -1..<now + day * 3650, serial: try Serial.random())
        let key = try PrivateKey.generate(algorithm)
        let certificate = try Issuer(chain: [root], key: rootKey).issueAuthority(
            subject: try DistinguishedName(commonName: "\(name) intermediate", organization: "Martinet"),
            trustDomain: self.domain, validity: now..<now + day * 365, serial: try Serial.random(),
            for: key.publicKey)
        intermediate = try Issuer(chain: [certificate, root], key: key)
    }

    func template(_ serviceAccount: String = "web", until end: Timestamp = now + day) throws -> LeafTemplate {
        LeafTemplate(
            spiffeID: try SPIFFEID(domain, namespace: "shop", serviceAccount: serviceAccount),
            validity: now..<end, serial: try Serial.random())
    }
}

let everyAlgorithm: [KeyAlgorithm] = [.ecdsaP256, .ecdsaP384, .rsa(bits: 2048), .ed25519]
