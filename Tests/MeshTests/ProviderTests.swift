import Mesh
import Testing

/// Extension providers of the MeshConfig, read strictly.
struct ProviderTests {
    private func errors(_ spec: String) -> [String] {
        let text = "apiVersion: martinet.dev/v1\nkind: MeshConfig\nmetadata: {name: default}\nspec: \(spec)\n"
        do throws(ObjectErrors) {
            _ = try ObjectText(Array(text.utf8), namespace: "default")
            return []
        } catch {
            return error.findings.map { "\($0.path): \($0.words)" }
        }
    }

    @Test(arguments: [
        ("{extensionProviders: [{name: a}]}", "none of"),
        ("{extensionProviders: [{prometheus: {}}]}", "`name` is missing"),
        ("{extensionProviders: [{name: a, prometheus: {}}, {name: a, prometheus: {}}]}", "`a` is taken"),
        ("{extensionProviders: [{name: martinet, prometheus: {}}]}", "`martinet` is taken"),
        ("{extensionProviders: [{name: a, prometheus: {}, zipkin: {service: a.b, port: 1}}]}", "exclude each other"),
        ("{extensionProviders: [{name: a, zipkin: {service: a.b}}]}", "`port` is missing"),
        ("{extensionProviders: [{name: a, zipkin: {service: 'a b', port: 1}}]}", "service"),
        ("{extensionProviders: [{name: a, zipkin: {service: x/y/z, port: 1}}]}", "service"),
        (
            "{extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, statusOnError: '99'}}]}",
            "status"
        ),
        ("{extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, pathPrefix: /x}}]}", "pathPrefix"),
        ("{extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a.b, port: 99999}}]}", "99999"),
        ("{extensionProviders: [{name: a, envoyFileAccessLog: {logFormat: {}}}]}", "none of"),
        ("{defaultProviders: {tracing: [nobody]}}", "there is no provider `nobody`"),
        ("{extensionProviders: [{name: a, lightstep: {}}]}", "no field `lightstep`"),
    ])
    func aProviderThatIsNoneIsAnError(spec: String, words: String) {
        let found = errors(spec)
        #expect(found.contains { $0.contains(words) }, "\(found)")
    }

    @Test func whatItNamesAndIsNotThereIsTold() throws {
        let text = """
            apiVersion: martinet.dev/v1
            kind: MeshConfig
            metadata: {name: default}
            spec:
              extensionProviders:
              - name: a
                zipkin: {service: nobody.nowhere.svc.cluster.local, port: 9411}
              - name: b
                opentelemetry: {service: there.shop.svc.cluster.local, port: 1}
            ---
            apiVersion: v1
            kind: Service
            metadata: {name: there, namespace: shop}
            spec: {ports: [{port: 2}]}
            ---
            apiVersion: telemetry.istio.io/v1
            kind: Telemetry
            metadata: {name: t, namespace: shop}
            spec: {tracing: [{providers: [{name: b}]}, {providers: [{name: c}]}], accessLogging: [{providers: [{name: a}]}]}
            """
        let index = MeshIndex(try ObjectText(Array(text.utf8), namespace: "default").objects)
        let found = index.findings().map { "\($0.path): \($0.words)" }
        #expect(found.contains { $0.hasPrefix("spec.extensionProviders[0].zipkin.service: no service has the host") })
        #expect(
            found.contains(
                "spec.extensionProviders[1].opentelemetry.port: `there.shop.svc.cluster.local` has no port 1"))
        #expect(found.contains("spec.tracing[1].providers[0].name: no spans are sent to a provider `c`"))
        #expect(found.contains("spec.accessLogging[0].providers[0].name: nothing is logged to a provider `a`"))
        #expect(!found.contains { $0.hasPrefix("spec.tracing[0]") })
    }
}
