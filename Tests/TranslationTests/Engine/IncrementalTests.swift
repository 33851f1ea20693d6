import Foundation
import Identity
import Mesh
import Testing
import XDS

@testable import Translation

@Suite struct IncrementalTranslationSimulation {
    static func number(_ name: String) -> UInt64? { ProcessInfo.processInfo.environment[name].flatMap(UInt64.init) }

    static var seeds: [UInt64] {
        if let seed = number("SEED") { return [seed] }
        let from = number("FROM") ?? 1
        return Array(from..<from + (number("SEEDS") ?? 6))
    }

    static let proxies: [ProxyClass] = {
        var proxies: [ProxyClass] = []
        for namespace in RandomMesh.namespaces {
            for (app, version) in [("one", "v1"), ("two", "v2")] {
                proxies.append(
                    ProxyClass(
                        namespace: namespace, labels: ["app": app, "version": version],
                        locality: Locality(region: app == "one" ? "eu" : "us")))
            }
        }
        let addresses = ProxyClass.ExplicitAddresses(inbound: "127.3.0.1", outbound: "127.0.0.1")
        proxies.append(ProxyClass(namespace: "a", labels: ["app": "one"], interception: .explicit(addresses)))
        proxies.append(ProxyClass(.gateway, namespace: "istio-system", labels: ["istio": "ingressgateway"]))
        proxies.append(ProxyClass(.proxyless, namespace: "b", labels: ["app": "two"]))
        return proxies
    }()

    /// After any changes every class sees, byte for byte, what it would see had all been made from nothing.
    @Test(arguments: seeds)
    func whatFollowsChangesEqualsWhatIsMadeFromNothing(seed: UInt64) throws {
        var random = RandomMesh(seed: seed)
        let settings = TranslationSettings(trustDomain: try TrustDomain("cluster.local"))
        var index = MeshIndex()
        for _ in 0..<12 { index.apply(.put(try random.object())) }
        var translation = MeshTranslation(settings: settings, index: index)
        translation.add(Self.proxies.dropLast())
        var told: (version: UInt64, warnings: [MeshFinding]) = (0, [])
        for step in 0..<30 {
            var changes: [MeshIndex.Change] = []
            var next = index
            for _ in 0..<Int.random(in: 1...3, using: &random.numbers) {
                let change = try random.change(of: next)
                changes.append(change)
                next.apply(change)
            }
            let planned = translation.plan(next, changes: changes)
            let followed = translation.follow(next, changes: changes)
            #expect(planned.views.map(\.proxy) == followed.views.map(\.proxy), "seed \(seed) step \(step)")
            index = next
            if step == 10 { translation.add(Self.proxies.last!) }
            if step == 20 { translation.remove(Self.proxies[0]) }
            if step == 25 { translation.add(Self.proxies[0]) }
            if step % 10 == 9 {
                var anew = MeshTranslation(settings: settings, index: index)
                anew.add(translation.proxies)
                #expect(translation.warnings == anew.warnings, "SEED=\(seed) step \(step)")
            }
            if told.version == translation.warningsVersion {
                #expect(told.warnings == translation.warnings, "SEED=\(seed) step \(step)")
            }
            told = (translation.warningsVersion, translation.warnings)
            for proxy in translation.proxies {
                let whole = WholeTranslation(of: proxy, in: index, settings: settings)
                let snapshot = try #require(translation.snapshot(of: proxy))
                let differences = WholeTranslation(snapshot).difference(from: whole)
                #expect(
                    differences.isEmpty,
                    """
                    SEED=\(seed) step \(step): \(proxy.kind) in \(proxy.namespace) \(proxy.labels): \(differences)
                    after \(changes.map(\.words).joined(separator: "\n"))
                    """)
                if !differences.isEmpty { return }
            }
        }
        for proxy in translation.proxies { translation.remove(proxy) }
        #expect(translation.sections.count == 0, "nothing is kept for nobody")
        #expect(translation.sections.factCount == 0)
        #expect(translation.warnings.isEmpty)
    }
}

/// What random objects come to is what Envoy takes; what EnvoyFilters do to it is their users' affair.
@Suite struct RandomMeshValidation {
    @Test(arguments: [UInt64(1), 2, 3, 4, 5, 6])
    func envoyTakesWhatRandomObjectsComeTo(seed: UInt64) throws {
        var random = RandomMesh(seed: seed)
        let settings = TranslationSettings(trustDomain: try TrustDomain("cluster.local"))
        var index = MeshIndex()
        while index.count < 40 {
            let object = try random.object()
            if object.key.kind != .envoyFilter { index.apply(.put(object)) }
        }
        var translation = MeshTranslation(settings: settings, index: index)
        let proxies = IncrementalTranslationSimulation.proxies.filter { $0.kind != .proxyless }
        translation.add(proxies)
        // A few of each kind: each takes Envoy a second.
        for proxy in [proxies[Int(seed) % 6], proxies[6], proxies[7]] {
            let snapshot = try #require(translation.snapshot(of: proxy))
            let resources = [ResourceType.cluster, .listener, .route].flatMap { snapshot[$0].sortedResources() }
            let words = try EnvoyValidation.refusal(of: resources)
            #expect(
                words == nil,
                """
                seed \(seed): \(proxy.kind) in \(proxy.namespace) \(proxy.labels): \(words ?? "")
                \(index.keys.compactMap { index[$0]?.source.yaml }.joined(separator: "---\n"))
                """)
        }
    }
}

extension MeshIndex.Change {
    /// What changed, as users write it.
    fileprivate var words: String {
        switch self {
        case .put(let object): "put \(object.key):\n\(object.source.yaml)"
        case .remove(let key): "removal of \(key)"
        case .connect(let workload): "\(workload) came"
        case .disconnect(let id): "\(id) went"
        case .judge(let id, let isHealthy): "\(id) is \(isHealthy.map { $0 ? "healthy" : "unhealthy" } ?? "unchecked")"
        }
    }
}
