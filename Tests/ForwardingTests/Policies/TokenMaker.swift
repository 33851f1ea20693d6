import Foundation
import Testing

/// A key that `openssl` made, and tokens that it signs.
struct TokenMaker {
    let algorithm: String
    let keyID: String
    private let directory: String
    /// The public key as a JWK.
    let jwk: String

    init(_ algorithm: String, keyID: String = "k", namesAlgorithm: Bool = true) throws {
        (self.algorithm, self.keyID) = (algorithm, keyID)
        directory = NSTemporaryDirectory() + "/token-" + UUID().uuidString.prefix(8)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let kind =
            switch algorithm.prefix(2) {
            case "RS", "PS": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
            case "ES": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-\(algorithm.suffix(3))"]
            default: ["-algorithm", "ED25519"]
            }
        _ = try Self.run(["genpkey", "-out", directory + "/key.pem"] + kind)
        let der = try Self.run(["pkey", "-in", directory + "/key.pem", "-pubout", "-outform", "DER"])
        let rest = namesAlgorithm ? ", \"alg\": \"\(algorithm)\"" : ""
        switch algorithm.prefix(2) {
        case "RS", "PS":
            let text = String(
                decoding: try Self.run(["rsa", "-in", directory + "/key.pem", "-noout", "-modulus"]), as: UTF8.self)
            let digits = try #require(text.split(separator: "=").last).filter(\.isHexDigit)
            let bytes = stride(from: 0, to: digits.count, by: 2).compactMap { place in
                UInt8(digits.dropFirst(place).prefix(2), radix: 16)
            }
            jwk = #"{"kty": "RSA", "kid": "\#(keyID)", "n": "\#(Self.encode(bytes))", "e": "AQAB"\#(rest)}"#
        case "ES":
            let half = algorithm == "ES256" ? 32 : 48
            let point = Array(der.suffix(2 * half))
            jwk = """
                {"kty": "EC", "crv": "P-\(algorithm.suffix(3))", "kid": "\(keyID)",
                 "x": "\(Self.encode(point.prefix(half)))", "y": "\(Self.encode(point.suffix(half)))"\(rest)}
                """
        default:
            jwk =
                #"{"kty": "OKP", "crv": "Ed25519", "kid": "\#(keyID)", "x": "\#(Self.encode(der.suffix(32)))"\#(rest)}"#
        }
    }

    var keySet: String { "{\"keys\": [\(jwk)]}" }

    /// A token with these claims, JSON.
    func token(_ claims: String, header: String? = nil) throws -> String {
        let head = header ?? #"{"alg": "\#(algorithm)", "kid": "\#(keyID)", "typ": "JWT"}"#
        let signed = Self.encode(Array(head.utf8)) + "." + Self.encode(Array(claims.utf8))
        return signed + "." + Self.encode(try sign(signed))
    }

    private func sign(_ text: String) throws -> [UInt8] {
        let place = directory + "/signed"
        try text.write(toFile: place, atomically: true, encoding: .utf8)
        let key = directory + "/key.pem"
        guard algorithm != "EdDSA" else {
            return try Self.run(["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", place])
        }
        var arguments = ["dgst", "-sha\(algorithm.suffix(3))", "-sign", key]
        if algorithm.hasPrefix("PS") {
            arguments += ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
        }
        let signature = try Self.run(arguments + [place])
        return algorithm.hasPrefix("ES") ? Self.halves(signature, algorithm == "ES256" ? 32 : 48) : signature
    }

    /// The two numbers of a DER signature, side by side.
    private static func halves(_ der: [UInt8], _ half: Int) -> [UInt8] {
        var result: [UInt8] = []
        var place = der[1] < 0x80 ? 2 : 3
        for _ in 0..<2 {
            let number = der[(place + 2)..<(place + 2 + Int(der[place + 1]))].drop { $0 == 0 }
            result += [UInt8](repeating: 0, count: half - number.count) + number
            place += 2 + Int(der[place + 1])
        }
        return result
    }

    static func encode(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacingOccurrences(of: "+", with: "-")
            .replacingOccurrences(of: "/", with: "_").replacingOccurrences(of: "=", with: "")
    }

    private static func run(_ arguments: [String]) throws -> [UInt8] {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "openssl \(arguments.joined(separator: " "))")
        return Array(data)
    }
}
