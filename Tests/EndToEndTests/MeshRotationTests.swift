import Foundation
import Testing

/// Certificates change under load, and no request notices.
struct MeshRotationTests {
    @Test(arguments: Envoy.Variant.allCases)
    func twoEnvoysSpeakMutualTLSWhileEverythingRotates(variant: Envoy.Variant) throws {
        let pair = try MeshPair(variant, serving: ["--ca-leaf-ttl", "10s"])
        let first = try pair.api.certificates()
        #expect(first.trusted.count == 1, "\(first)")
        let answers = try pair.load(perSecond: 100)

        // Workload certificates: each renewal is another serial number.
        var seen: Set<String> = []
        try eventually("three renewals", within: 40) {
            seen.formUnion(try pair.api.certificates().own)
            // A chain is a leaf and an intermediate.
            return seen.count >= 5 ? true : nil
        }

        // The root, twice.
        for _ in 1...2 {
            let old = try pair.web.certificates().trusted
            let (status, output, errors) = try pair.control.command("ca", "rotate", "--root", "--wait")
            #expect(status == 0, "\(output)\(errors)\(pair.control.process.log.suffix(3_000))")
            for envoy in [pair.web, pair.api] {
                let now = try envoy.certificates().trusted
                #expect(now.count == 1 && now.isDisjoint(with: old), "\(now) after \(old)")
            }
        }

        let counts = try answers()
        #expect(counts.keys.sorted() == ["200"], "\(counts)")
        #expect(counts["200", default: 0] > 500)
        let inbound = try pair.api.secured("listener.127.")
        #expect(inbound["handshake", default: 0] > 500, "each request was to make a connection: \(inbound)")
        for statistics in [inbound, try pair.web.secured("cluster.api.")] {
            for failure in ["connection_error", "fail_verify_error", "fail_verify_san", "fail_verify_no_cert"] {
                #expect(statistics[failure] == 0, "\(statistics)")
            }
        }
        // Their bootstrap names the first of the three roots: they come back to a control plane under the third.
        try pair.control.restart(SIGKILL)
        try eventually("both to be connected again; \(pair.control.process.log.suffix(3_000))", within: 60) {
            try pair.control.command("status").output.split(separator: "\n").count { $0.contains("synced") } >= 2
                ? true : nil
        }
        let (status, output, errors) = try pair.control.command("ca", "status")
        #expect(status == 0, "\(output)\(errors)")
        #expect(!pair.control.process.log.contains("PRIVATE KEY"))
    }

    /// With the bundles of several trust domains in one context, each checked for its own names alone.
    @Test func envoysThatTrustSeveralDomainsByDomainFollowARotation() throws {
        let other = try ControlPlaneProcess(["--trust-domain", "other.test"])
        let bundle = other.directory + "/bundle.json"
        try other.command("ca", "bundle", "--format", "spiffe").output.write(
            toFile: bundle, atomically: true, encoding: .utf8)
        let pair = try MeshPair(serving: ["--federate", "other.test=\(bundle)"], trusting: "ALL")
        let answers = try pair.load(perSecond: 50)
        let (status, output, errors) = try pair.control.command("ca", "rotate", "--root", "--wait")
        #expect(status == 0, "\(output)\(errors)")
        let counts = try answers()
        #expect(counts.keys.sorted() == ["200"] && counts["200", default: 0] > 10, "\(counts)")
        for statistics in [try pair.api.secured("listener.127."), try pair.web.secured("cluster.api.")] {
            #expect(statistics["fail_verify_error"] == 0, "\(statistics)")
        }
    }

    @Test func aRestartInTheMiddleOfARootRotationGoesOnWhereItWas() throws {
        let pair = try MeshPair(serving: ["--ca-leaf-ttl", "20s"])
        let old = try pair.web.certificates().trusted
        let answers = try pair.load(perSecond: 50)
        let (ordered, _, errors) = try pair.control.command("ca", "rotate", "--root")
        #expect(ordered == 0, "\(errors)")
        for _ in 1...3 {
            try pair.control.restart(SIGKILL)
            usleep(300_000)
        }
        try eventually("the old root to be gone; \(pair.control.process.log.suffix(3_000))", within: 90) {
            let now = [try pair.web.certificates().trusted, try pair.api.certificates().trusted]
            return now.allSatisfy { $0.count == 1 && $0.isDisjoint(with: old) } ? true : nil
        }
        let counts = try answers()
        #expect(counts.keys.sorted() == ["200"], "\(counts)")
    }
}
