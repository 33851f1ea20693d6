import Foundation
import Testing

/// `martinet token` and the forms of `martinet ca` as a user types them.
@Suite(.serialized) struct TokenTests {
    @Test func aTokenIsPrintedOnceKeptThroughAKillAndRevoked() throws {
        let control = try ControlPlaneProcess()
        let made = try control.command(
            "token", "create", "--namespace", "shop", "--service-account", "web", "--ttl", "1h30m", "--uses", "3")
        #expect(made.status == 0, "\(made)")
        #expect(made.output.hasPrefix("martinet-join-v1.") && made.output.split(separator: "\n").count == 1)
        #expect(made.errors.hasPrefix("join token "))
        let id = String(made.output.split(separator: ".")[1])
        let secret = made.output.split(separator: ".")[2].prefix(20)
        #expect(!made.errors.contains(secret) && !control.process.log.contains(secret))

        try control.restart(SIGKILL)
        let json = try JSONSerialization.jsonObject(
            with: Data(try control.command("token", "list", "-o", "json").output.utf8))
        let tokens = try #require((json as? [String: Any])?["tokens"] as? [[String: Any]])
        #expect(tokens.count == 1 && tokens[0]["id"] as? String == id && tokens[0]["state"] as? String == "open")
        #expect(tokens[0]["uses"] as? Int == 3 && tokens[0]["used"] as? Int == 0)

        #expect(try control.command("token", "revoke", id).output == "revoked \(id)\n")
        try control.restart(SIGKILL)
        let list = try control.command("token", "list").output
        #expect(list.contains(id) && list.contains("revoked"))
        let missing = try control.command("token", "revoke", "nope")
        #expect(missing.status == 1)
        #expect(
            missing.errors == "error: there is no join token nope\nhint: `martinet token list` shows what there is\n")
    }

    @Test func badOrdersAreRefusedWithTheMend() throws {
        let control = try ControlPlaneProcess()
        func create(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
            let all = ["token", "create", "--service-account", "web", "--data", control.data] + arguments
            return try ChildProcess.run(Installation.martinet, all)
        }
        let short = try create("--namespace", "shop", "--ttl", "10s")
        #expect(short.status == 1 && short.errors.contains("hint: "), "\(short)")
        let name = try create("--namespace", "a/b", "--ttl", "1h")
        #expect(name.status == 1 && name.errors.contains("`a/b` is no namespace"), "\(name)")
        for ttl in ["", "1", "h", "1x", "-1h", "99999999999999999999s", "400000d1", "1.5h"] {
            #expect(try create("--namespace", "shop", "--ttl=\(ttl)").status == 64, "\(ttl)")
        }
        #expect(try create("--namespace", "shop", "--ttl", "1h", "--uses=-1").status == 64)
        #expect(try control.command("token", "list").output == "there are none\n")
    }

    @Test func wrongCommandLinesOfTheAuthorityAreToldBeforeAnythingIsAsked() throws {
        for arguments in [
            ["rotate", "--abort", "--root"], ["rotate", "--timeout", "1h"], ["import"],
            ["import", "--dir", "d", "--cert", "c"], ["journal", "--limit", "0"], ["bundle", "--format", "der"],
        ] {
            let all = ["ca"] + arguments + ["--data", "/nonexistent"]
            #expect(try ChildProcess.run(Installation.martinet, all).status == 64, "\(arguments)")
        }
        let status = try ChildProcess.run(Installation.martinet, ["ca", "status", "--data", "/nonexistent"])
        #expect(status.status == 2 && status.errors.hasPrefix("error: no control plane answers"))
        let file = try ChildProcess.run(
            Installation.martinet, ["ca", "import", "--cert", "/nonexistent.pem", "--data", "/nonexistent"])
        #expect(file.status == 1 && file.errors.hasPrefix("error: cannot read /nonexistent.pem: No such file"))
    }
}
