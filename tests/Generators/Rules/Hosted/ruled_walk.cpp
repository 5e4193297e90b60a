// The walk of a mask rule against all pairs: on random lengths, rows and rules it visits each key tile once at most, all that have
// a pair which counts, and asks in all that have one which does not. Exits with 1 and says what is wrong.
#include "warp.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include <attncompose/attention/ruled_blocks.cuh>

namespace rules = attn::rules;
namespace ranges = attn::rules::ranges;

constexpr int kQueryTile = 32, kKeyTile = 16;

struct Config {
    static constexpr bool kCausal = true;
};

// A window with first keys and, where there are any, documents.
struct Score {
    static constexpr bool kHasRanges = true;
    int window, sinks;
    rules::Span<int> document;
    rules::SpanBounds bounds;

    bool sees_pair(int query, int key) const {
        const bool near = query - key < window || key < sinks;
        return near && (!document.data || document.data[query] == document.data[key]);
    }
    rules::Verdict sees(const rules::TileRanges& at) const {
        const auto near = ranges::either(ranges::less(ranges::subtract(at.query, at.key), ranges::of(rules::Int(window))),
                                         ranges::less(at.key, ranges::of(rules::Int(sinks))));
        if (!document.data) return near;
        return ranges::both(near, ranges::equal(ranges::element(document, bounds, 0, at.query),
                                                ranges::element(document, bounds, 0, at.key)));
    }
};

struct Case {
    std::vector<int> positions, documents;
    std::vector<rules::SpanBounds::Entry> entries;
    Score score;
    attn::WalkRange range;
    std::vector<attn::KeyStep> steps;
    bool asks_ahead, is_first_ruled;
};

int random_below(int end) {
    return std::rand() % end;
}

void find_bounds(const std::vector<int>& of, rules::SpanBounds::Entry* to, int size) {
    for (int begin = 0; begin < static_cast<int>(of.size()); begin += size) {
        const auto [low, high] =
            std::minmax_element(of.begin() + begin, of.begin() + std::min(begin + size, static_cast<int>(of.size())));
        to[begin / size] = {*low, *high};
    }
}

std::unique_ptr<Case> draw(int number) {
    auto it = std::make_unique<Case>();
    // 1024 tiles are judged together, so some have more.
    const int keys = 1 + random_below(number % 20 == 19 ? 40000 : 2500), queries = 1 + random_below(keys);
    const int begin = random_below((queries + kQueryTile - 1) / kQueryTile) * kQueryTile;
    const int end = std::min(begin + kQueryTile, queries);
    const bool is_indexed = random_below(2) == 0;
    int position = 0;
    for (int i = 0; i < keys; i++) {
        it->positions.push_back(position);
        position += 1 + (is_indexed ? random_below(3) : 0);
    }
    it->asks_ahead = number % 2 == 0;
    it->score = {1 + random_below(600), random_below(3) == 0 ? random_below(60) : 0, {nullptr, 0}, {nullptr, 0}};
    if (number % 3 == 0) {
        for (int i = 0, current = 0; i < position; i++) {
            if (random_below(200) == 0) current = random_below(9);
            it->documents.push_back(current);
        }
        const int far = (position + rules::SpanBounds::kFar - 1) / rules::SpanBounds::kFar;
        it->entries.resize(far * 65);
        it->score.document = {it->documents.data(), position};
        it->score.bounds = {it->entries.data(), far};
        find_bounds(it->documents, it->score.bounds.near(0), rules::SpanBounds::kNear);
        find_bounds(it->documents, it->score.bounds.far(0), rules::SpanBounds::kFar);
    }
    const int first_diagonal = begin + keys - queries, last_diagonal = first_diagonal + end - begin - 1;
    it->range = {0, 0, 0, begin, end, first_diagonal, last_diagonal / kKeyTile + 1, (first_diagonal + 1) / kKeyTile, keys,
                 is_indexed ? it->positions.data() : nullptr};
    return it;
}

void walk(int lane, const std::vector<std::unique_ptr<Case>>& cases) {
    threadIdx.x = static_cast<unsigned>(lane);
    for (const auto& it : cases) {
        const attn::RuledBlocks<Config, Score> blocks{{}, it->score};
        auto walk = blocks.walk<kQueryTile, kKeyTile>(it->range);
        // A loop may ask for the first tile before anything is judged, and again behind the last one.
        attn::KeyStep before{0, 0};
        if (it->asks_ahead) before = walk.first();
        // Every lane judges it by itself; here one of them is heard.
        if (const bool is_ruled = before.is_tile() && walk.is_first_ruled(); lane == 7) it->is_first_ruled = is_ruled;
        for (int behind = 0; behind < 3;) {
            const attn::KeyStep step = walk.next(before.flags);
            if (lane == 0 && (before.is_tile() || behind > 0)) it->steps.push_back(before);
            before = step;
            behind += step.is_tile() ? 0 : 1;
        }
    }
}

const char* fault_of(const Case& it, int& needless, int& spared) {
    std::vector<int> taken(it.range.tiles);  // 1 where the rules are asked pair by pair, 2 where the mask alone is, 3 where nothing is
    bool is_over = false;
    for (const attn::KeyStep& step : it.steps) {
        if (!step.is_tile()) {
            is_over = true;
            continue;
        }
        if (is_over) return "a tile comes behind the last one";
        const int tile = step.base / kKeyTile;
        if (tile >= it.range.tiles || taken[tile] != 0) return "a tile comes twice";
        taken[tile] = !step.is_masked() ? 3 : (step.flags & attn::KeyStep::kRuled) ? 1 : 2;
        if (!step.is_masked() && (step.flags & attn::KeyStep::kRuled)) return "a tile without a mask asks the rules";
        if (step.flags & attn::KeyStep::kFirst) return "the first tile's flags are not made right";
    }
    if (it.asks_ahead && it.is_first_ruled != ((it.steps.front().flags & attn::KeyStep::kRuled) != 0))
        return "the first tile is judged otherwise ahead";
    for (int tile = 0; tile < it.range.tiles; tile++) {
        bool any = false, all = true, all_by_rules = true;
        for (int i = 0; i < it.range.end - it.range.begin; i++) {
            for (int key = tile * kKeyTile; key < (tile + 1) * kKeyTile; key++) {
                const int diagonal = it.range.first_diagonal + i;
                const bool counts = key <= diagonal && it.score.sees_pair(it.range.position(diagonal), it.range.position(key));
                any |= counts;
                all &= counts;
                all_by_rules &= counts || key > diagonal;
            }
        }
        if (any && taken[tile] == 0) return "a tile is missing";
        if (!all && taken[tile] == 3) return "a tile is not asked";
        if (!all_by_rules && taken[tile] == 2) return "the rules are not asked of a tile";
        spared += taken[tile] == 2;
        needless += !any && taken[tile] != 0;
    }
    return nullptr;
}

int main() {
    std::vector<std::unique_ptr<Case>> cases;
    for (int number = 0; number < 60; number++) cases.push_back(draw(number));
    std::vector<std::thread> lanes;
    for (int lane = 0; lane < 32; lane++) lanes.emplace_back([lane, &cases] { walk(lane, cases); });
    for (std::thread& lane : lanes) lane.join();
    int tiles = 0, taken = 0, needless = 0, spared = 0;
    for (const auto& it : cases) {
        if (const char* fault = fault_of(*it, needless, spared)) {
            std::fprintf(stderr, "%s\n", fault);
            return 1;
        }
        tiles += it->range.tiles;
        taken += static_cast<int>(it->steps.size()) - 2;
    }
    // Ranges are coarse where documents are, not everywhere.
    if (taken > tiles / 2 || needless > taken / 4) {
        std::fprintf(stderr, "of %d tiles %d are visited, %d of them for nothing\n", tiles, taken, needless);
        return 1;
    }
    if (spared == 0) {
        std::fprintf(stderr, "the rules are asked of every tile that has a mask\n");
        return 1;
    }
    return 0;
}
