import Foundation
import Testing

/// What lies in the data directory is damaged: `martinet serve` says what and how to mend it, and changes nothing.
@Suite(.serialized) struct AuthorityFileTests {
    private let control: ControlPlaneProcess
    private let passphrase: String

    init() throws {
        let directory = try temporaryDirectory()
        passphrase = directory + "/passphrase"
        try "correct horse\n".write(toFile: passphrase, atomically: true, encoding: .utf8)
        chmod(passphrase, 0o600)
        control = try ControlPlaneProcess(["--ca-passphrase-file", passphrase])
        control.stop(SIGTERM)
    }

    private var keys: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: control.data + "/ca").filter { $0.hasSuffix(".key") }
                .sorted().map { control.data + "/ca/" + $0 }
        }
    }

    /// Every file with its content, without the database, whose log any start takes in, and what names the process.
    private func contents() throws -> [String: Data] {
        var contents: [String: Data] = [:]
        for name in try FileManager.default.subpathsOfDirectory(atPath: control.data) {
            let isPassing = name.hasPrefix("martinet.db") || name.hasSuffix(".sock") || name == "lock"
            guard !isPassing, let data = FileManager.default.contents(atPath: control.data + "/" + name) else {
                continue
            }
            contents[name] = data
        }
        return contents
    }

    private func expectRefusal(
        _ words: String..., hint: String, user: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let before = try contents()
        let (status, output, errors) = try control.runToItsEnd(as: user)
        #expect(status == 1, "\(output)\(errors)", sourceLocation: sourceLocation)
        let last = errors.split(separator: "\n").suffix(2)
        for word in words {
            #expect(last.first?.contains(word) == true, "\(errors)", sourceLocation: sourceLocation)
        }
        #expect(last.first?.hasPrefix("error: ") == true, "\(errors)", sourceLocation: sourceLocation)
        #expect(
            last.last?.hasPrefix("hint: ") == true && last.last?.contains(hint) == true, "\(errors)",
            sourceLocation: sourceLocation)
        #expect(!errors.contains("PRIVATE KEY"), sourceLocation: sourceLocation)
        #expect(try contents() == before, sourceLocation: sourceLocation)
    }

    @Test func aLostOrDamagedKeyAndAWrongPassphraseAreToldAndMended() throws {
        let root = try String(contentsOfFile: control.rootCertificate, encoding: .utf8)
        for key in try keys where !key.contains("jwt-") {
            let good = try Data(contentsOf: URL(fileURLWithPath: key))
            try FileManager.default.removeItem(atPath: key)
            try expectRefusal("is not here", key, hint: "backup")
            for bad in [good.prefix(good.count / 2), Data("nonsense".utf8), Data()] {
                try bad.write(to: URL(fileURLWithPath: key))
                chmod(key, 0o600)
                try expectRefusal(key, hint: "backup")
            }
            try good.write(to: URL(fileURLWithPath: key))
            chmod(key, 0o600)
        }
        try "wrong horse\n".write(toFile: passphrase, atomically: false, encoding: .utf8)
        try expectRefusal("passphrase", hint: "--ca-passphrase-file")
        try "correct horse\n".write(toFile: passphrase, atomically: false, encoding: .utf8)
        try control.restart()
        #expect(try String(contentsOfFile: control.rootCertificate, encoding: .utf8) == root)
        #expect(try control.command("ca", "status").status == 0)
    }

    @Test func aDatabaseThatCannotBeWrittenIsToldOf() throws {
        let root = try String(contentsOfFile: control.rootCertificate, encoding: .utf8)
        // Modes do not hold for root.
        let user = geteuid() == 0 ? ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] : []
        func give(_ owner: uid_t) throws {
            for path in try [control.directory, control.data, passphrase]
                + FileManager.default.subpathsOfDirectory(atPath: control.data).map({ control.data + "/" + $0 })
            { chown(path, owner, owner) }
        }
        if !user.isEmpty {
            try give(65534)
            chmod((passphrase as NSString).deletingLastPathComponent, 0o755)
        }
        let database = control.data + "/martinet.db"
        chmod(database, 0o400)
        try expectRefusal("martinet.db", "cannot be written", hint: "check the owner and the mode", user: user)
        chmod(database, 0o600)
        if !user.isEmpty { try give(0) }
        try control.restart()
        #expect(try String(contentsOfFile: control.rootCertificate, encoding: .utf8) == root)
    }
}
