// How few scores cover a share, and which are the highest, against a sort: ties, zeroes, what is no number, keys that are held and
// keys that are not. Exits with 1 and says what is wrong.
#include "block.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <attncompose/block_lists/coverage_count.cuh>

using Count = attn::CoverageCount<const float*>;
using Choice = attn::BlockChoice<256>;

std::vector<float> scores;
double share;
int counted, wanted;
alignas(1024) unsigned char memory[sizeof(Count::Shared) + 4 * Count::Keys::kMost];
std::vector<unsigned long long> words;

void count() {
    const attn::Team team = attn::Team::of_block();
    const Count::Keys keys(scores.data(), attn::Run(team, static_cast<int>(scores.size())), memory + sizeof(Count::Shared));
    const int found = Count::of(keys, team, share, *reinterpret_cast<Count::Shared*>(memory));
    if (threadIdx.x == 0) counted = found;
}

void mark() {
    static_assert(sizeof(Choice::Shared) <= sizeof(memory));
    Choice::mark_highest(*reinterpret_cast<Choice::Shared*>(memory), static_cast<int>(scores.size()), wanted,
                         [](int i) { return scores[i]; }, words.data());
}

std::vector<int> ranked() {
    std::vector<int> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [](int a, int b) { return attn::rank_key(scores[a]) > attn::rank_key(scores[b]); });
    return order;
}

int fewest(const std::vector<int>& order) {
    unsigned long long total = 0, taken = 0;
    for (float score : scores) total += attn::fixed_mass(score);
    const auto factor = static_cast<unsigned __int128>(std::nearbyint(share * 9223372036854775808.0));
    const auto target = static_cast<unsigned long long>((factor * total + ((1ull << 63) - 1)) >> 63);
    int kept = 0;
    while (taken < target) taken += attn::fixed_mass(scores[order[kept++]]);
    return kept;
}

float draw(int kind) {
    switch (kind) {
        case 0: return static_cast<float>(std::exp(-20.0 * std::rand() / RAND_MAX));
        case 1: return 1.0f / 1024;
        case 2: return std::rand() % 3 == 0 ? 0 : static_cast<float>(std::rand() % 8) / 65536;
        case 3: return std::rand() % 50 == 0 ? 0.3f : 1e-13f;
        default: return std::rand() % 40 == 0 ? NAN : static_cast<float>(std::rand()) / static_cast<float>(RAND_MAX);
    }
}

int main() {
    const double shares[] = {0.9, 0.97, 0, 1, 0.5, 0.999999};
    int between = 0;
    for (int number = 0; number < 24; number++) {
        // Keys are held up to Count::Keys::kMost.
        const int most = number % 8 == 7 ? 2 * Count::Keys::kMost : number % 8 == 6 ? 3000 : 300;
        scores.resize(1 + std::rand() % most);
        for (float& score : scores) score = draw(number % 5);
        share = shares[std::rand() % 6];
        const std::vector<int> order = ranked();
        const int size = static_cast<int>(scores.size()), expected = fewest(order);
        hosted::run(Count::kThreads, count);
        if (counted != expected) {
            std::fprintf(stderr, "case %d: %d of %d scores cover %g, not %d\n", number, expected, size, share, counted);
            return 1;
        }
        between += expected > 0 && expected < size;

        wanted = std::rand() % (size + 20) - 10;
        std::vector<bool> kept(size);
        for (int i = 0; i < std::min(wanted, size); i++) kept[order[i]] = true;
        words.assign((size + 63) / 64, ~0ull);
        hosted::run(256, mark);
        for (int i = 0; i < 64 * static_cast<int>(words.size()); i++) {
            if ((words[i / 64] >> i % 64 & 1) != (i < size && kept[i])) {
                std::fprintf(stderr, "case %d: bit %d of %d is wrong, %d are wanted\n", number, i, size, wanted);
                return 1;
            }
        }
    }
    if (between < 10) {
        std::fprintf(stderr, "hardly a case keeps some scores and drops others\n");
        return 1;
    }
    return 0;
}
