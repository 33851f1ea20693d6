import EnvoyAPI
import Forwarding
import Testing

struct SubsetTests {
    private func rig(_ fields: String, _ endpoints: [UpstreamEndpoint]) throws -> UpstreamRig {
        try UpstreamRig("lb_subset_config:\n" + fields, set(endpoints))
    }

    private func criteria(_ labels: KeyValuePairs<String, StructureValue>) -> SubsetCriteria? {
        SubsetCriteria(labels.map { .init($0.key, $0.value) })
    }

    private let four = [
        endpoint(0, labels: [.init("version", "1"), .init("stage", "prod")]),
        endpoint(1, labels: [.init("version", "1"), .init("stage", "test")]),
        endpoint(2, labels: [.init("version", "2"), .init("stage", "prod")]), endpoint(3),
    ]

    @Test func aRequestGoesToTheSubsetThatItAsksFor() throws {
        var rig = try rig(
            "  subset_selectors: [{ keys: [version] }, { keys: [stage, version] }]", four)
        #expect(Set(rig.numbers(50, PickQuestion(subset: criteria(["version": "1"])))) == [0, 1])
        #expect(Set(rig.numbers(9, PickQuestion(subset: criteria(["version": "2"])))) == [2])
        #expect(Set(rig.numbers(9, PickQuestion(subset: criteria(["version": "1", "stage": "test"])))) == [1])
        #expect(rig.cluster.subsetCount == 5)
        // No fallback: nobody.
        #expect(rig.pick(PickQuestion(subset: criteria(["version": "3"]))) == nil)
        #expect(rig.pick(PickQuestion(subset: criteria(["stage": "prod"]))) == nil)
        #expect(rig.pick() == nil)
        // Values have types.
        #expect(rig.pick(PickQuestion(subset: criteria(["version": 1]))) == nil)
    }

    @Test func theFallbackIsAnyHostOrTheStandardSubset() throws {
        var any = try rig("  fallback_policy: ANY_ENDPOINT\n  subset_selectors: [{ keys: [version] }]", four)
        #expect(Set(any.numbers(50)) == [0, 1, 2, 3])
        #expect(Set(any.numbers(50, PickQuestion(subset: criteria(["version": "3"])))) == [0, 1, 2, 3])
        var standard = try rig(
            """
              fallback_policy: DEFAULT_SUBSET
              default_subset: { stage: prod }
              subset_selectors: [{ keys: [version] }]
            """, four)
        #expect(Set(standard.numbers(50, PickQuestion(subset: criteria(["version": "3"])))) == [0, 2])
    }

    @Test func selectorsHaveFallbacksOfTheirOwn() throws {
        var rig = try rig(
            """
              fallback_policy: NO_FALLBACK
              default_subset: { stage: test }
              subset_selectors:
              - { keys: [version], fallback_policy: ANY_ENDPOINT }
              - { keys: [stage], fallback_policy: DEFAULT_SUBSET }
              - { keys: [stage, version], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [stage] }
              - { keys: [zone], fallback_policy: NO_FALLBACK }
            """, four)
        #expect(Set(rig.numbers(50, PickQuestion(subset: criteria(["version": "9"])))) == [0, 1, 2, 3])
        #expect(Set(rig.numbers(50, PickQuestion(subset: criteria(["stage": "none"])))) == [1])
        #expect(Set(rig.numbers(50, PickQuestion(subset: criteria(["stage": "prod", "version": "9"])))) == [0, 2])
        #expect(rig.pick(PickQuestion(subset: criteria(["zone": "a"]))) == nil)
    }

    @Test func aSubsetWithoutHealthyHostsAnswersForItself() throws {
        var rig = try UpstreamRig(
            """
            common_lb_config: { healthy_panic_threshold: { value: 0 } }
            lb_subset_config:
              fallback_policy: ANY_ENDPOINT
              subset_selectors: [{ keys: [version] }]
            """,
            set([
                endpoint(0, state: .unhealthy, labels: [.init("version", "1")]),
                endpoint(1, labels: [.init("version", "2")]),
            ]))
        #expect(rig.pick(PickQuestion(subset: criteria(["version": "1"]))) == nil)
    }

    @Test func panicReachesForAnyHost() throws {
        var rig = try UpstreamRig(
            """
            common_lb_config: { healthy_panic_threshold: { value: 0 } }
            lb_subset_config:
              fallback_policy: DEFAULT_SUBSET
              default_subset: { stage: prod }
              panic_mode_any: true
              subset_selectors: [{ keys: [version] }]
            """,
            set([endpoint(0, state: .unhealthy, labels: [.init("stage", "prod")]), endpoint(1)]))
        #expect(Set(rig.numbers(20)) == [1])
    }

    @Test func listsMayStandForEachOfTheirItems() throws {
        let hosts = [
            endpoint(0, labels: [.init("version", .list(["1", "2"]))]),
            endpoint(1, labels: [.init("version", "2")]),
        ]
        var rig = try rig("  list_as_any: true\n  subset_selectors: [{ keys: [version] }]", hosts)
        #expect(Set(rig.numbers(20, PickQuestion(subset: criteria(["version": "2"])))) == [0, 1])
        #expect(Set(rig.numbers(20, PickQuestion(subset: criteria(["version": "1"])))) == [0])
    }

    @Test func singleHostsServeWhateverTheirHealth() throws {
        var rig = try rig(
            "  subset_selectors: [{ keys: [id], single_host_per_subset: true }]",
            [
                endpoint(0, state: .unhealthy, labels: [.init("id", "a")]), endpoint(1, labels: [.init("id", "b")]),
                endpoint(2, labels: [.init("id", "b")]),
            ])
        #expect(rig.numbers(4, PickQuestion(subset: criteria(["id": "a"]))) == [0, 0, 0, 0])
        #expect(rig.numbers(4, PickQuestion(subset: criteria(["id": "b"]))) == [1, 1, 1, 1])
    }

    @Test func alternativesAreTriedInTurn() throws {
        var rig = try rig(
            "  metadata_fallback_policy: FALLBACK_LIST\n  subset_selectors: [{ keys: [version] }]", four)
        let asked = criteria([
            "version": "7", "fallback_list": .list([["version": "8"], ["version": "2"], ["version": "1"]]),
        ])
        #expect(Set(rig.numbers(20, PickQuestion(subset: asked))) == [2])
    }

    @Test func furtherKeysMayBeIgnored() throws {
        var rig = try UpstreamRig(
            """
            load_balancing_policy:
              policies:
              - typed_extension_config:
                  name: subset
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset
                    allow_redundant_keys: true
                    subset_selectors: [{ keys: [version] }]
                    subset_lb_policy:
                      policies:
                      - typed_extension_config:
                          name: random
                          typed_config:
                            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random
            """, set(four))
        let asked = criteria(["version": "2", "further": "x"])
        #expect(Set(rig.numbers(20, PickQuestion(subset: asked))) == [2])
    }

    @Test func subsetsFollowTheirHosts() throws {
        var rig = try rig("  subset_selectors: [{ keys: [version] }]", four)
        let asked = PickQuestion(subset: criteria(["version": "2"]))
        #expect(rig.number(asked) == 2)
        rig.update(set([endpoint(2, labels: [.init("version", "1")]), endpoint(5, labels: [.init("version", "2")])]))
        #expect(Set(rig.numbers(9, asked)) == [5])
        rig.update(set([]))
        #expect(rig.pick(asked) == nil)
        #expect(rig.cluster.subsetCount == 0)
    }
}
